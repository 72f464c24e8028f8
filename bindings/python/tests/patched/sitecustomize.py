# SPDX-License-Identifier: MIT
"""In interpreters that have this on their path, multiprocessing.shared_memory is iomem's."""

import multiprocessing
import sys

import iomem.shared_memory

sys.modules["multiprocessing.shared_memory"] = iomem.shared_memory
multiprocessing.shared_memory = iomem.shared_memory
