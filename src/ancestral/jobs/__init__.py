"""What the verbs do: a function each, from frozen settings to an iterator of events, importable without a command line.

The command line draws a bar from the events and prints the rest; a page can stream them; a test keeps a list.
"""
