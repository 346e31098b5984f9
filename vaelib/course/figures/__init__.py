"""Interactive figures: in Jupyter, in Colab, and on the site, where no kernel runs.

Each is a class here, with a Python module and a JavaScript module of its own. A figure is an
ipywidget: its settings are traits.
"""

from .curved_posterior import CurvedPosterior
from .dashboard import Dashboard
from .draw_digit import DrawDigit
from .elbo_gap import ElboGap
from .figure import Figure
from .latent_plane import LatentPlane
from .network import Network
from .playground import Playground
from .reparameterize import Reparameterize
from .retrain import Retrain
from .two_gaussians import TwoGaussians
from .wet_street import WetStreet

__all__ = [
    "CurvedPosterior",
    "Dashboard",
    "DrawDigit",
    "ElboGap",
    "Figure",
    "LatentPlane",
    "Network",
    "Playground",
    "Reparameterize",
    "Retrain",
    "TwoGaussians",
    "WetStreet",
]
