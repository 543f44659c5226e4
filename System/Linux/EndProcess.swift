import CLinux
import Glibc

/// Ends the process with this code, behind what was printed, without the handlers that exit(3) runs.
///
/// Threads of libraries are at work until the end (librdkafka takes its time to end a client), and OpenSSL's handler
/// frees what they stand on: a crash now and then.
public func endProcess(_ code: Int32) -> Never {
  clinux_flush_output()
  _exit(code)
}
