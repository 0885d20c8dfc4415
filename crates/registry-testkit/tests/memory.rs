//! The in-memory adapters against the suites.

registry_testkit::store_conformance!((registry_testkit::memory::MemoryStore::default(), ()));

registry_testkit::blob_conformance!(&registry_testkit::ports::MemoryBlobs::default());
