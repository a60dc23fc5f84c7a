"""``python -m mmpretrain_mps`` is the command ``mps-clip``."""

from .cli import main

if __name__ == '__main__':
    main()
