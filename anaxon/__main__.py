"""`python -m anaxon` is `anaxon`."""

from anaxon.cli import entry

if __name__ == "__main__":
    entry()
