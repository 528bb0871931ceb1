import { crc32 } from 'node:zlib'
import type { LineCoder } from '../log/unit.ts'

/**
 * The first line of a dumped log: how long what follows is, and its checksum. Units end at multiples of 4096 bytes, and so
 * do copies cut short by a full disk: without this line such a copy would pass for a whole file. NeDB passes over lines
 * of names that begin with `$$`, and leaves them out at its next load.
 */
const SEAL = /^\{"\$\$dump":\{"bytes":(\d+),"crc":(\d+)\}\}$/

/** The content with a seal before it. */
export async function seal(content: Buffer, coder: LineCoder | undefined): Promise<Buffer> {
  const line = `{"$$dump":{"bytes":${content.length},"crc":${crc32(content)}}}`
  return Buffer.concat([Buffer.from(`${coder ? await coder.encode(line) : line}\n`), content])
}

/** Where the content begins, 0 without a seal, and whether it is what was sealed; more may have been added to it. */
export async function readSeal(
  bytes: Buffer,
  coder: LineCoder | undefined,
): Promise<{ readonly length: number; readonly intact: boolean }> {
  const newline = bytes.indexOf('\n')
  const first = bytes.toString('utf8', 0, Math.max(newline, 0))
  const [, length, crc] = SEAL.exec(coder ? await coder.decode(first).catch(() => '') : first) ?? []
  if (length === undefined) return { length: 0, intact: true }
  const content = bytes.subarray(newline + 1, newline + 1 + Number(length))
  return {
    length: newline + 1,
    intact: content.length === Number(length) && crc32(content) === Number(crc),
  }
}
