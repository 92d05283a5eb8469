"""The command line: functions of the words after a verb that return the exit code, and main.py, which finds the verb.

Settings are flags of the same dotted names as in a settings file: a flag becomes an entry of the nested table that is
laid over the preset and checked. No verb imports torch before its words have been understood.
"""
