"""The engine inside an HTML page: its modules in one script, its kernels in a block of data.

A page of a file may not import another file, so that modules are joined; under the policy nothing else may run, and
nothing may be fetched.
"""

from ancestral.share.scripts import digest, joined, kernels

MODULES = (
    *("kernels.js", "blocks.js", "text.js", "conditions.js", "unet.js", "dit.js", "decoder.js", "network.js"),
    "random.js",
)
"""No two of them give a name to different things, and none uses another's while it is read."""
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
    whole = "\n".join([joined(MODULES), LOADED, script])
    policy = f"default-src 'none'; script-src {digest(whole)} 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>ancestral</title>
<script type="application/octet-stream" id="{KERNELS}">{kernels(KERNELS)}</script>
<script type="module">{whole}</script>
"""
