import Glibc

/// How many descriptors this process may have open: the soft limit of RLIMIT_NOFILE. Numbers of descriptors are below it.
public func descriptorLimit() -> Int {
  var limits = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0 else { return 1024 }
  return Int(clamping: limits.rlim_cur)
}

/// Raises the soft limit to the hard one, which needs no rights: the soft one is low for the sake of old programs that
/// use select(2).
public func raiseDescriptorLimit() {
  var limits = rlimit()
  let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  guard getrlimit(resource, &limits) == 0, limits.rlim_cur < limits.rlim_max else { return }
  limits.rlim_cur = limits.rlim_max
  _ = setrlimit(resource, &limits)
}
