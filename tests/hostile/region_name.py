# SPDX-License-Identifier: MIT
"""Names in listings of JSON."""


def name_of(region):
    """The bytes of a name, as the manual says."""
    if "name_escaped" not in region:
        return region["name"].encode()
    parts = region["name_escaped"].encode().split(b"\\")
    return parts[0] + b"".join(bytes([int(p[:3], 8)]) + p[3:] for p in parts[1:])
