"""`python -m ancestral` is the command `ancestral`."""

from ancestral.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
