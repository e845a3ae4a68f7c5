# SPDX-License-Identifier: GPL-3.0-or-later
"""How often Ansible has sent a module to a host: counted from what `ansible-playbook -vvv` says."""

import re
from collections import Counter
from collections.abc import Mapping

# Python is given a module as a file, or on its standard input where pipelining is on. What else is executed are shell
# commands around it: folders made, modes set, folders removed.
EXECUTION = re.compile(
    r"""^<([^>]+)> [ ] (?:SSH: [ ])? EXEC [ ] .*
    /python[\d.]* ["'\ ]+ (?: \S.*/AnsiballZ_\w+\.py ["'\ ]+ )? && [ ] sleep""",
    re.MULTILINE | re.VERBOSE,
)


def count(output: str) -> Mapping[str, int]:
    """Modules sent to each host, those that actions like copy and template send unasked included.

    A module that runs for a host somewhere else (delegate_to) counts there: localhost is the controller.
    """
    return Counter(EXECUTION.findall(output))
