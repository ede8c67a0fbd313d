"""The library h2 as a server here uses it: its bounds, and where it is stricter than the RFC."""

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings

from headrace.gateway.connection import HEAD_BYTES_MAX

STREAMS_MAX = 100  # what clients take for granted until they have read the settings
STREAM_WINDOW = 256 * 1024  # that all streams have sent so much to no avail is 25 MiB


class _States(H2ConnectionStateMachine):
    """h2's states, but that a GOAWAY from either side lets what is under way be finished (RFC 9113, 6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {
        (state, goaway): (None, state)
        for state in (ConnectionState.IDLE, ConnectionState.SERVER_OPEN)
        for goaway in (ConnectionInputs.SEND_GOAWAY, ConnectionInputs.RECV_GOAWAY)
    }


def connection() -> H2Connection:
    """Return what reads and writes the frames of a new connection; what it begins with is there to send."""
    found = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
    found.state_machine = _States()
    found.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
        },
    )
    found.initiate_connection()
    # The connection's window never is what holds a stream up: h2 opens it by halves.
    found.increment_flow_control_window(2 * STREAMS_MAX * STREAM_WINDOW - found.inbound_flow_control_window)
    return found
