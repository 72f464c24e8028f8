// SPDX-License-Identifier: MIT

package iomem

const sysMemfdCreate = uintptr(279)
