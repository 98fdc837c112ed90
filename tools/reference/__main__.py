# SPDX-License-Identifier: Apache-2.0
"""`make reference`: rewrite what is generated in docs/."""

from tools.reference.pages import pages, write

if __name__ == "__main__":
    for path in pages():
        print("rewritten" if write(path) else "unchanged", path.name)
