//! Conformance of the in-memory adapters.

registry_testkit::store_conformance!((registry_testkit::memory::MemoryStore::default(), ()));

registry_testkit::blob_conformance!(&registry_testkit::ports::MemoryBlobs::default());
