"""``python -m graphc``: the command line where no script was installed."""

from graphc.cli import main

if __name__ == "__main__":
    main(prog_name="graphc")
