"""The engine inside an HTML page: its modules in one script, its kernels in a block of data.

A page of a file may not import another file, so that modules are joined; under the policy nothing else may run, and
nothing may be fetched.
"""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

MODULES = ("network.js", "random.js")
KERNELS = "net.wasm"
LOADED = f"""
function bytes(base64) {{
  const text = atob(base64), found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}}
const wasm = bytes(document.getElementById("{KERNELS}").textContent);
"""


def bare_page(script: str) -> str:
    """A page that runs `script` after the engine, whose names it knows, beside the kernels as `wasm` and `bytes`, which
    reads base64."""
    folder = files("ancestral.share")
    modules = [folder.joinpath(name).read_text(encoding="utf-8") for name in MODULES]
    whole = "\n".join([*modules, LOADED, script])
    digest = b64encode(sha256(whole.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'"
    kernels = b64encode(folder.joinpath(KERNELS).read_bytes()).decode()
    return f"""<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>ancestral</title>
<script type="application/octet-stream" id="{KERNELS}">{kernels}</script>
<script type="module">{whole}</script>
"""
