"""Hosts that fail before their first token: routing goes on to the next host, then to the next model."""

from collections.abc import Callable

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.routing.upstream import upstream_error

STATUSES = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 524, 529)


def _failure(status: int) -> Callable[[Parameters, Host], ApiError]:
    def fail(parameters: Parameters, host: Host) -> ApiError:
        return upstream_error(host, status, parameters.text("text"))

    return fail


for _status in STATUSES:
    fault(
        f"upstream_{_status}",
        Stage.UPSTREAM,
        f"every host asked answers {_status}; `attempts` limits it to the first ones, `provider` and `model` to some",
        quirks=(37, 38),
        attempts="",
        text=f"simulated upstream failure {_status}",
    )(_failure(_status))


@fault(
    "upstream_400_inside_502",
    Stage.UPSTREAM,
    "code 502 outside, the upstream's own 400 inside the message: not worth a retry",
    quirks=(39,),
    attempts="",
)
def bad_request_inside(_parameters: Parameters, host: Host) -> ApiError:
    error = upstream_error(host, 502, "invalid parameter")
    error.message = 'Upstream error: {"error":{"message":"invalid parameter","code":400}}'
    return error
