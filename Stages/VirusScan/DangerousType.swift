import Pipeline

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
    // A class of Java, or a program for several Macs, which says of how many: a class has its version there.
    if begins([0xCA, 0xFE, 0xBA, 0xBE]), bytes.count >= 8 { return bytes[7] >= 40 ? "java-class" : "mac-program" }
    // Compiled help, which runs scripts, and images of disks, which hide where a file came from (ECMA-119 section 8).
    if begins(Array("ITSF".utf8)) { return "windows-help" }
    if bytes.count > 0x8006, bytes[0x8001..<0x8006].elementsEqual("CD001".utf8) { return "disk-image" }
    // OneNote sections carry programs to click on (MS-ONESTORE section 2.3.1: guidFileType).
    if begins([0xE4, 0x52, 0x5C, 0x7B, 0x8C, 0xD8, 0xA7, 0x4D]) { return "onenote" }
    if begins(Array("#!/".utf8)) || begins(Array("#! /".utf8)) { return "script" }
    return nil
  }

  /// Whether it begins as an archive does that people open with a click.
  static func isArchive(_ bytes: Bytes) -> Bool {
    let magics: [[UInt8]] = [
      [0x50, 0x4B, 3, 4], [0x52, 0x61, 0x72, 0x21, 0x1A, 7], [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], [0x1F, 0x8B],
      [0x4D, 0x53, 0x43, 0x46], [0xFD, 0x37, 0x7A, 0x58, 0x5A],
    ]
    return magics.contains { bytes.starts(with: $0) }
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
