# What systemd does for a socket-activated service that restarts always: keeps the listening sockets, and starts the
# program with them as descriptors 3 and 4 again and again. usage: socket-holder.pl <tappd path> <dstack path> <program> …
use strict;
use warnings;
use IO::Socket::UNIX;
use POSIX qw(dup2);

my @paths = splice @ARGV, 0, 2;
my @sockets = map { IO::Socket::UNIX->new(Local => $_, Listen => 128) or die "$_: $!" } @paths;
my $child = 0;
$SIG{TERM} = sub { kill "KILL", $child; exit 0 };
for (1 .. 5) {
  $child = fork // die "fork: $!";
  if ($child == 0) {
    # First out of the way: one of them may be descriptor 3 or 4 itself.
    dup2(fileno $sockets[$_], 20 + $_) for 0 .. 1;
    dup2(20 + $_, 3 + $_) for 0 .. 1;
    @ENV{qw(LISTEN_PID LISTEN_FDS LISTEN_FDNAMES)} = ($$, 2, "tappd:dstack");
    exec @ARGV or die "exec: $!";
  }
  waitpid $child, 0;
}
