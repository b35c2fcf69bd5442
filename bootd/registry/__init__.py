"""From a registry, an oci: folder or an oci-archive: file to verified blobs."""
