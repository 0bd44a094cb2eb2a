"""The limits of ``_native``, on a page of their own: the stub beside this describes them."""

from otp_server.core._native import Charges, Limit, LimitRow, Quota, Quotas, SlidingWindows

__all__ = ["Charges", "Limit", "LimitRow", "Quota", "Quotas", "SlidingWindows"]
