"""What the verbs do: a function each, from frozen settings to an iterator of events, with no command line needed."""
