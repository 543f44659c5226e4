/// Kinds of files that do something when a person opens them, told by what they begin with, or by the name that the
/// system would go by.
enum DangerousType {
  /// What kind it is; nil: none of these.
  static func kind(of bytes: UnsafeRawBufferPointer, name: String?) -> String? {
    byContent(bytes) ?? name.flatMap(byName)
  }

  private static func byContent(_ bytes: UnsafeRawBufferPointer) -> String? {
    func begins(_ magic: [UInt8]) -> Bool {
      bytes.count >= magic.count && bytes.prefix(magic.count).elementsEqual(magic)
    }
    // MZ alone begins many a text, too: the header that it leads to decides (Microsoft PE format, section "MS-DOS Stub").
    if begins([0x4D, 0x5A]), bytes.count >= 64 {
      let header = Int(bytes.loadUnaligned(fromByteOffset: 0x3C, as: UInt32.self).littleEndian)
      if header <= bytes.count - 4, bytes[header...].prefix(2).elementsEqual([0x50, 0x45]) { return "windows-program" }
      if bytes.prefix(64).contains(0) { return "dos-program" }
    }
    if begins([0x7F, 0x45, 0x4C, 0x46]) { return "linux-program" }
    for magic in [
      [0xFE, 0xED, 0xFA, 0xCE], [0xFE, 0xED, 0xFA, 0xCF], [0xCE, 0xFA, 0xED, 0xFE], [0xCF, 0xFA, 0xED, 0xFE],
    ]
    where begins(magic.map { UInt8($0) }) { return "mac-program" }
    // A link of Windows (MS-SHLLINK section 2.1): header size and class id.
    if begins([0x4C, 0, 0, 0, 0x01, 0x14, 0x02, 0]) { return "windows-link" }
    if begins(Array("#!/".utf8)) || begins(Array("#! /".utf8)) { return "script" }
    return nil
  }

  private static let programs: Set<String> = [
    "exe", "com", "scr", "pif", "cpl", "msi", "msp", "dll", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "js", "jse",
    "wsf", "wsh", "wsc", "hta", "jar", "lnk", "url", "reg", "scf", "inf", "msc", "gadget", "application", "appref-ms",
    "chm", "hlp", "iso", "img", "vhd", "vhdx", "xll", "ade", "adp", "mde", "sct", "shb", "shs", "settingcontent-ms",
  ]

  private static func byName(_ name: String) -> String? {
    // Windows drops dots and space at the end.
    let trimmed = name.lowercased().reversed().drop { $0 == "." || $0 == " " }.reversed()
    guard let dot = trimmed.lastIndex(of: ".") else { return nil }
    let ending = String(trimmed[trimmed.index(after: dot)...])
    return programs.contains(ending) ? "file-name-\(ending)" : nil
  }
}
