"""The command line: functions of the words after a verb, which return any exit code but 0, and main.py, which finds it.

Settings are flags of the same dotted names as in a settings file: a flag becomes an entry of the nested table that is
laid over the preset and checked. No verb imports torch before its words have been understood.
"""
