"""`python -m tunescope`."""

from tunescope.cli import main

if __name__ == "__main__":
    main()
