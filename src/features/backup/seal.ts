import { zlib } from '../../os/modules.ts'
import type { LineCoder } from '../../store/adapter.ts'
import { bytesSource, piecesOf, type Source, Spliced } from '../../store/snapshot.ts'

/**
 * The first line of a dumped log: how long what follows is, and its checksum. Units end at multiples of 4096 bytes, and so
 * do copies cut short by a full disk: without this line such a copy would pass for a whole file. NeDB passes over lines
 * of names that begin with `$$`, and leaves them out at its next load.
 */
const SEAL = /^\{"\$\$dump":\{"bytes":(\d+),"crc":(\d+)\}\}$/

/** No seal is longer, whatever a serialization hook makes of it. */
const LONGEST_BYTES = 64 * 1024

/** The content with a seal before it. */
export async function seal(content: Source, coder: LineCoder | undefined): Promise<Source> {
  const line = `{"$$dump":{"bytes":${content.length},"crc":${await crcOf(content)}}}`
  const sealed = Buffer.from(`${coder ? await coder.encode(line) : line}\n`)
  return new Spliced().add(bytesSource(sealed)).add(content)
}

/** Where the content begins, 0 without a seal, and whether it is what was sealed; more may have been added to it. */
export async function readSeal(
  source: Source,
  coder: LineCoder | undefined,
): Promise<{ readonly length: number; readonly intact: boolean }> {
  const bytes = await source.read(0, Math.min(LONGEST_BYTES, source.length))
  const newline = bytes.indexOf('\n')
  const first = bytes.toString('utf8', 0, Math.max(newline, 0))
  const [, length, crc] = SEAL.exec(coder ? await coder.decode(first).catch(() => '') : first) ?? []
  if (length === undefined) return { length: 0, intact: true }
  const from = newline + 1
  const to = from + Number(length)
  if (to > source.length) return { length: from, intact: false }
  return { length: from, intact: (await crcOf(new Spliced().add(source, from, to))) === Number(crc) }
}

async function crcOf(source: Source): Promise<number> {
  let crc = 0
  for await (const piece of piecesOf(source)) crc = zlib().crc32(piece, crc)
  return crc
}
