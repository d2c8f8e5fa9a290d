"""One module for each outside system, behind the interfaces of `ml.core.ports`.

Importing this package settles what must be known before the libraries behind it are imported.
"""

import os
import time

import typeguard

from ml.adapters.variables import is_foreign

_BEFORE_IMPORTS = {
    "TZ": "UTC",  # Feast's SQLite store writes times as the process's zone reads them
    "OMP_WAIT_POLICY": "passive",  # spinning OpenMP threads cost ten times the CPU if it is busy
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default retries a dead server for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_UV_AUTO_DETECT": "false",  # or a model's requirements are the whole platform
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
}
for _name in [name for name in os.environ if is_foreign(name)]:
    del os.environ[_name]
for _name, _value in _BEFORE_IMPORTS.items():
    os.environ.setdefault(_name, _value)
for _name in ("NO_PROXY", "no_proxy"):  # a company's proxy cannot see this machine
    os.environ[_name] = ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get(_name)]))
os.environ["TZ"] = "UTC"
time.tzset()
# Feast has its own functions compiled anew at each import to check their arguments: 3 of the 4 s
# that the import takes, in every task and at every command.
typeguard.typechecked = lambda target=None, **_: (  # type: ignore[assignment]  # it has overloads
    target if target is not None else lambda it: it
)
