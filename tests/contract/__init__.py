"""What goes over the wire, against the official machine-readable documents of the services."""
