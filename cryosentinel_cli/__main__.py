"""`python -m cryosentinel_cli` is `cryosentinel`."""

from cryosentinel_cli.main import run

if __name__ == "__main__":
    run()
