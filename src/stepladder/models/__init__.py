"""One provider per file or folder: what turns a name, `provider:name`, into a `Model`."""
