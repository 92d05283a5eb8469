"""Other programs that do the same work, each run as it is published and, where it has one, in its best form."""
