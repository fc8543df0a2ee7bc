import { createSign, generateKeyPairSync, type KeyObject } from "node:crypto"

/** A certificate authority and a server's certificate by it, made by hand (X.509, DER): Node can read certificates, and not make them. */
export interface Certificates {
  readonly authority: string
  readonly certificate: string
  readonly key: string
}

const tlv = (tag: number, ...parts: ReadonlyArray<Buffer>): Buffer => {
  const body = Buffer.concat(parts)
  const size = body.length < 0x80
    ? [body.length]
    : body.length < 0x100
    ? [0x81, body.length]
    : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

const sequence = (...parts: ReadonlyArray<Buffer>) => tlv(0x30, ...parts)
const oid = (hex: string) => tlv(0x06, Buffer.from(hex, "hex"))
const time = (text: string) => tlv(0x17, Buffer.from(text))
const name = (text: string) => sequence(tlv(0x31, sequence(oid("550403"), tlv(0x0c, Buffer.from(text)))))
const extension = (id: string, value: Buffer) => sequence(oid(id), tlv(0x01, Buffer.from([0xff])), tlv(0x04, value))

/** ecdsa-with-SHA256 */
const algorithm = sequence(oid("2a8648ce3d040302"))

const certificate = (
  serial: number,
  subject: string,
  key: KeyObject,
  signer: KeyObject,
  ...extensions: ReadonlyArray<Buffer>
): string => {
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.from([serial])),
    algorithm,
    name("Test authority"),
    sequence(time("200101000000Z"), time("491231235959Z")),
    name(subject),
    key.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(...extensions))
  )
  const signature = createSign("sha256").update(body).sign(signer)
  const der = sequence(body, algorithm, tlv(0x03, Buffer.from([0]), signature))
  return `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`
}

/** Makes a certificate for `localhost`. */
export const make = (): Certificates => {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const server = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const isAuthority = extension("551d13", sequence(tlv(0x01, Buffer.from([0xff]))))
  const alternative = extension("551d11", sequence(tlv(0x82, Buffer.from("localhost"))))
  return {
    authority: certificate(1, "Test authority", authority.publicKey, authority.privateKey, isAuthority),
    certificate: certificate(2, "localhost", server.publicKey, authority.privateKey, alternative),
    key: String(server.privateKey.export({ type: "pkcs8", format: "pem" }))
  }
}
