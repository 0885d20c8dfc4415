//! Faults on the machine: disks, folders, and the cluster.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Fault, FaultCase, RESUMED, UNCHANGED};
use crate::machine::{UNREACHABLE_URL, stderr};

faults! {
    full_disk_changes_nothing {
        fault: "The disk is full before the code is redeemed.",
        message: "…/state/product.json cannot be used: File too large (os error 27). Check its \
                  owner, and that the disk is not full.",
        next: UNCHANGED,
        test: |fault| {
            let case = FaultCase::new();
            let args = case.machine.run_args(&case.registry.url, &["--output", &case.out()]);
            let output = run_with_file_limit(&case, 0, &args);
            assert_nothing_changed(&case, fault, &output);
            case.assert_installs();
        },
    }
    redemption_survives_full_disk {
        fault: "The disk is full when the response arrives, after the code was redeemed.",
        message: "…/state/install.json cannot be used: File too large (os error 27). Check its \
                  owner, and that the disk is not full.",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            assert_eq!(case.start(UNREACHABLE_URL, &[]).status.code(), Some(5));
            // The options fit into 512 bytes, the response with its license does not.
            let args = ["run", "--registry-url", &case.registry.url, "--tries", "1"];
            let output = run_with_file_limit(&case, 1, &args);
            assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
            assert_eq!(case.redeemed_codes(), 1);
            case.assert_waits_for_tenant();
            case.assert_message(fault, &output, &case.registry.url);
            case.assert_resumes();
        },
    }
    missing_output_folder_is_reported {
        fault: "The folder for the Secrets does not exist.",
        message: "…/out is not an existing folder: the Secrets cannot be written to it",
        next: UNCHANGED,
        test: |fault| {
            let case = FaultCase::new();
            std::fs::remove_dir(case.out()).unwrap();
            let output = case.start(&case.registry.url, &[]);
            assert_nothing_changed(&case, fault, &output);
            std::fs::create_dir(case.out()).unwrap();
            case.assert_installs();
        },
    }
    unwritable_secret_is_reported {
        fault: "The Secrets cannot be written.",
        message: "…/out/appliance-initial-tenant.json cannot be written: Is a directory (os error \
                  21)",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            let obstacle = Path::new(&case.out()).join("appliance-initial-tenant.json");
            std::fs::create_dir(&obstacle).unwrap();
            let output = case.start(&case.registry.url, &[]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(case.machine.status()["step"], "write");
            case.assert_message(fault, &output, &case.registry.url);
            std::fs::remove_dir(&obstacle).unwrap();
            case.assert_resumes();
        },
    }
    invalid_state_folder_is_reported {
        fault: "The state folder is a file.",
        message: "…/state cannot be used: File exists (os error 17). Check its owner, and that the \
                  disk is not full.",
        next: UNCHANGED,
        test: |fault| {
            let case = FaultCase::new();
            case.machine.write("state", "");
            let output = case.start(&case.registry.url, &[]);
            assert_eq!(output.status.code(), Some(1));
            case.assert_message(fault, &output, &case.registry.url);
            std::fs::remove_file(case.machine.path("state")).unwrap();
            case.assert_installs();
        },
    }
    unwritable_state_folder_is_reported {
        fault: "The state folder cannot be written.",
        message: "…/state cannot be used: Permission denied (os error 13). Check its owner, and \
                  that the disk is not full.",
        next: UNCHANGED,
        test: |fault| {
            let case = FaultCase::new();
            let state = case.machine.path("state");
            std::fs::create_dir(&state).unwrap();
            set_mode(&state, 0o500);
            let output = run_as_unprivileged_user(&case);
            set_mode(&state, 0o700);
            assert_nothing_changed(&case, fault, &output);
            case.assert_installs();
        },
    }
    kubectl_failure_is_reported {
        fault: "`kubectl` cannot reach the cluster.",
        message: "…/kubectl apply --server-side --force-conflicts failed (exit status: 1): \
                  connection to the server was refused",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            let script = "echo 'connection to the server was refused' >&2; exit 1";
            let kubectl = case.machine.write_kubectl(script);
            let output = case.machine.run(&case.registry.url, &["--kubectl", &kubectl]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(case.machine.status()["step"], "write");
            case.assert_message(fault, &output, &case.registry.url);
            case.machine.write_kubectl("exit 0");
            case.assert_resumes();
        },
    }
}

/// Checks that the program failed before it stored the code, and checks its message.
fn assert_nothing_changed(case: &FaultCase, fault: &Fault, output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert_eq!(case.machine.status()["step"], "collect");
    case.assert_message(fault, output, &case.registry.url);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the program. Limits the size of files, in blocks of 512 bytes, to simulate a full disk.
fn run_with_file_limit<Arg: AsRef<OsStr>>(case: &FaultCase, blocks: u32, args: &[Arg]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    run_wrapped(shell, &case.machine.command(args))
}

/// Runs the program as a user without access to the state folder. Root has access to everything, so
/// root runs a copy of the program as the user `nobody`.
fn run_as_unprivileged_user(case: &FaultCase) -> Output {
    let args = case.machine.run_args(&case.registry.url, &["--output", &case.out()]);
    let folder = case.machine.folder.path();
    if std::fs::metadata(folder).unwrap().uid() != 0 {
        return case.machine.setup(&args);
    }
    let original = case.machine.command(&args);
    let copy = case.machine.path("appliance-setup");
    std::fs::copy(original.get_program(), &copy).unwrap();
    set_mode(folder, 0o755);
    let mut program = Command::new(copy);
    program.args(original.get_args());
    for (name, _) in original.get_envs() {
        program.env_remove(name);
    }
    let mut wrapper = Command::new("setpriv");
    wrapper.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    run_wrapped(wrapper, &program)
}

/// Runs a program through a wrapper, which gets the program and its arguments as its last
/// arguments.
fn run_wrapped(mut wrapper: Command, program: &Command) -> Output {
    wrapper.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    for (name, _) in program.get_envs() {
        wrapper.env_remove(name);
    }
    let output = wrapper.output();
    let wrapper = wrapper.get_program().to_string_lossy();
    output.unwrap_or_else(|error| panic!("{wrapper} is not installed: {error}"))
}
