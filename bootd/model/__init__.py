"""Plain data: no file, no socket, no clock is touched on this floor.

A model means what is written here and nothing else. Pydantic's plugins, which any package on the
machine can bring, would have a say in what a daemon of root reads, and looking for them costs each
start a tenth of its time; so they are left out, in programs that are started from here, too.
"""

import os

os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
