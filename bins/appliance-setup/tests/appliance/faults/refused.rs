//! Codes that the registry refuses. The installation waits for another code (R-messages-1).

use registry_core::registry::tenant_admin::TenantEdit;

use super::{CORRECTED, Fault, FaultCase};
use crate::machine::Machine;
use crate::test_registry::operator;

faults! {
    wrong_code_is_refused {
        fault: "The code is wrong.",
        message: "Invalid install code. Check the code from your registration email and try again.",
        next: CORRECTED,
        test: |fault| {
            let case = FaultCase::new();
            let code = std::fs::read_to_string(case.machine.path("code")).unwrap();
            case.machine.write("code", "AAAA-BBBB-CCCC");
            assert_refused(&case, fault);
            case.machine.write("code", &code);
            case.assert_installs();
        },
    }
    used_code_is_refused {
        fault: "The code was used by another appliance.",
        message: "Install code has already been used, on … UTC. Request a fresh one from the \
                  portal (re-issue) at \\<url\\>/portal.",
        next: CORRECTED,
        test: |fault| {
            let first = FaultCase::new();
            let code = std::fs::read_to_string(first.machine.path("code")).unwrap();
            first.assert_installs();
            let second = FaultCase { machine: Machine::new(), ..first };
            second.machine.write("code", &code);
            assert_refused(&second, fault);
            second.assert_registered_once();
        },
    }
    code_of_suspended_tenant_is_refused {
        fault: "The tenant is suspended.",
        message: "This tenant was suspended or cancelled on … UTC. Ask your vendor.",
        next: CORRECTED,
        test: |fault| {
            let case = FaultCase::new();
            edit(&case, TenantEdit::Suspend);
            assert_refused(&case, fault);
            edit(&case, TenantEdit::Resume);
            case.assert_installs();
        },
    }
    replaced_code_is_refused {
        fault: "The code was replaced by a newer one.",
        message: "Install code was replaced by a newer one on … UTC. Use the newest code you were \
                  mailed. Request a fresh one from the portal (re-issue) at \\<url\\>/portal.",
        next: CORRECTED,
        test: |fault| {
            let case = FaultCase::new();
            let newest = case.runtime.block_on(case.registry.reissue_code(case.tenant));
            assert_refused(&case, fault);
            case.machine.write("code", &newest);
            case.assert_installs();
        },
    }
}

fn assert_refused(case: &FaultCase, fault: &Fault) {
    let output = case.start(&case.registry.url, &[]);
    assert_eq!(output.status.code(), Some(3));
    case.assert_waits_for_tenant();
    case.assert_message(fault, &output, &case.registry.url);
}

fn edit(case: &FaultCase, edit: TenantEdit) {
    let edited = case.registry.registry.tenant_edit(case.tenant, edit, operator());
    case.runtime.block_on(edited).unwrap();
}
