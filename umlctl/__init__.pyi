from umlctl.errors import GuestEnded as GuestEnded
from umlctl.errors import GuestInUse as GuestInUse
from umlctl.errors import HostError as HostError
from umlctl.errors import InDoubt as InDoubt
from umlctl.errors import NeverStarted as NeverStarted
from umlctl.errors import NoGuest as NoGuest
from umlctl.errors import NoKernel as NoKernel
from umlctl.errors import NotExecuted as NotExecuted
from umlctl.errors import NotOnBareKernel as NotOnBareKernel
from umlctl.errors import Refusal as Refusal
from umlctl.errors import Refused as Refused
from umlctl.errors import TimedOut as TimedOut
from umlctl.errors import UmlctlError as UmlctlError
from umlctl.errors import UnfitHost as UnfitHost
from umlctl.errors import UsageError as UsageError
from umlctl.library.command import CommandFailed as CommandFailed
from umlctl.library.command import CommandTimedOut as CommandTimedOut
from umlctl.library.console import Console as Console
from umlctl.library.guest import Guest as Guest
from umlctl.library.guest import attach as attach
from umlctl.library.guest import start as start
from umlctl.library.many import Runner as Runner
from umlctl.protocol.status import Device as Device
from umlctl.protocol.status import Ending as Ending
from umlctl.protocol.status import Status as Status
from umlctl.testing.result import Result as Result

__version__: str
