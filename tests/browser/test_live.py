"""A figure in a live notebook, in JupyterLab: Python moves it, and hears of a drag."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from jupyter_client import BlockingKernelClient

pytestmark = pytest.mark.soak  # JupyterLab takes half a minute to start

CELL = """
from vaelib.course.figures import TwoGaussians
figure, heard = TwoGaussians(), []
figure.observe(lambda change: heard.append(change["new"]), names="q_loc")
figure
"""


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab with one notebook, and the folder of its connection files."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runtime = tmp_path / "runtime"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={tmp_path}",
    ]  # fmt: skip
    server = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(runtime)},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield address, runtime
    server.terminate()
    server.wait()


def asked(kernel, expression):
    """The value of an expression in the notebook's kernel."""
    reply = kernel.execute(
        "", user_expressions={"value": expression}, silent=True, reply=True, timeout=60
    )
    return json.loads(
        reply["content"]["user_expressions"]["value"]["data"]["text/plain"].replace("'", '"')
    )


def test_python_moves_a_figure_and_hears_of_a_drag(browser, lab):
    address, runtime = lab
    page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    page.goto(f"{address}/lab/tree/live.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    page.wait_for_selector("text=| Idle", timeout=90_000)  # a cell run before that is lost
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".vf svg .handle", timeout=90_000)
    assert page.locator(".vf").count() == 1
    assert "0.818" in page.locator(".vf .said").inner_text()  # KL(q ‖ p) of N(1, 0.5²) and N(0, 1)

    (connection,) = runtime.glob("kernel-*.json")
    kernel = BlockingKernelClient(connection_file=str(connection))
    kernel.load_connection_file()
    kernel.start_channels()
    kernel.execute("figure.q_loc = 0.0; figure.q_scale = 1.0", reply=True, timeout=60)  # p itself
    page.wait_for_function(
        "document.querySelector('.vf .said').innerText.startsWith('KL(q ‖ p) = 0.000')"
    )

    kernel.execute("figure.p_loc = -3.0", reply=True, timeout=60)  # out of the way
    page.wait_for_function("!document.querySelector('.vf .said').innerText.includes('0.000')")
    box = page.locator(".vf svg .handle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=4)
    page.mouse.up()
    for _ in range(50):
        heard = asked(kernel, "heard")
        if heard[-1] > 0.0:
            break
        time.sleep(0.1)
    assert heard[0] == 0.0  # what Python set itself
    assert heard[-1] > 0.5  # where the drag went
    assert asked(kernel, "figure.q_loc") == heard[-1]
    kernel.stop_channels()
