"""The command line: a file for each verb, and main.py, which finds the verb. A leaf that nothing else imports.

Settings are flags of the same dotted names as in a settings file, and take the same road: a flag becomes an entry of
the nested table, which `config.merged` lays over the preset and checks. So a file and flags cannot differ in meaning,
a wrong value is told in the same line, and it is known which settings were given. No verb imports torch before its
words have been understood.
"""
