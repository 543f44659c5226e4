import OpenSSL
import Testing

@Suite struct OpenSSLTests {
  /// FIPS 180-4's own examples.
  @Test func sha256() {
    #expect(
      SHA256.hash(Array("abc".utf8)).description == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(
      SHA256.hash([]).description == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    // A sequence without storage of its own hashes as its bytes do.
    #expect(SHA256.hash(sequence(first: 97) { $0 < 99 ? $0 + 1 : nil }) == SHA256.hash(Array("abc".utf8)))
  }

  @Test func aDigestReadsOnlyItsOwnForm() {
    let digest = SHA256.hash(Array("abc".utf8))
    #expect(Digest256(hex: digest.description) == digest)
    #expect(Digest256(hex: digest.description.uppercased()) == nil)
    #expect(Digest256(hex: digest.description.dropLast()) == nil)
    #expect(Digest256(hex: "../" + digest.description.dropLast(3)) == nil)
  }

  @Test func aPasswordIsVerified() throws {
    let stored = try PasswordHash.make("pässword")
    #expect(stored.hasPrefix("$scrypt$ln=15,r=8,p=1$"))
    #expect(PasswordHash.verify("pässword", stored))
    #expect(!PasswordHash.verify("password", stored))
    #expect(try PasswordHash.make("pässword") != stored)
  }

  @Test(arguments: ["", "$", "plain", "$scrypt$ln=63,r=8,p=1$00$00", "$scrypt$ln=15,r=8,p=1$zz$zz"])
  func aFormThatIsNotKnownIsNoPassword(stored: String) { #expect(!PasswordHash.verify("", stored)) }

  @Test func randomBytesDiffer() throws {
    #expect(try randomBytes(32).count == 32)
    #expect(try randomBytes(32) != randomBytes(32))
    #expect(try randomBytes(-1).isEmpty)
  }
}
