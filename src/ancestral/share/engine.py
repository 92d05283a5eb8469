"""The engine inside an HTML page: its modules in one script, its kernels in a block of data.

A page of a file may not import another file, so that modules are joined; under the policy nothing else may run, and
nothing may be fetched.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

MODULES = ("kernels.js", "blocks.js", "text.js", "conditions.js", "unet.js", "network.js", "random.js")
"""No two of them give a name to different things, and none uses another's while it is read."""
KERNELS = "net.wasm"
_BETWEEN_MODULES = re.compile(r"^import [^;]*;\n|^export ", re.MULTILINE)
LOADED = f"""
function bytes(base64) {{
  const text = atob(base64), found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}}
const wasm = bytes(document.getElementById("{KERNELS}").textContent);
"""


def joined() -> str:
    """The engine's modules as one plain script, of a page or of a worker."""
    folder = files("ancestral.share")
    modules = [folder.joinpath(name).read_text(encoding="utf-8") for name in MODULES]
    return "\n".join(_BETWEEN_MODULES.sub("", module) for module in modules)


def kernels() -> str:
    """What the engine computes by, in base64."""
    return b64encode(files("ancestral.share").joinpath(KERNELS).read_bytes()).decode()


def bare_page(script: str) -> str:
    """A page that runs `script` after the engine, whose names it knows, beside the kernels as `wasm` and `bytes`, which
    reads base64."""
    whole = "\n".join([joined(), LOADED, script])
    digest = b64encode(sha256(whole.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>ancestral</title>
<script type="application/octet-stream" id="{KERNELS}">{kernels()}</script>
<script type="module">{whole}</script>
"""
