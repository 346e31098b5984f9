"""What only the course needs: pictures, live figures, checks of exercises, recorded runs.

``pip install vaelib[course]`` brings what they draw with. Nothing below this package needs it.
"""

from vaelib.course.recordings import recorded
from vaelib.course.tables import Table, table

__all__ = ["Table", "recorded", "table"]
