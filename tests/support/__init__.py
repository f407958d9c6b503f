"""Fakes and servers that the tests share."""
