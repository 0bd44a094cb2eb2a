"""``python -m otp_server`` is ``otp-server``."""

from otp_server.cli import main

if __name__ == "__main__":
    main()
