"""An app's code on its way to the machines: packed from a folder, kept on the object store, unpacked once on each node."""
