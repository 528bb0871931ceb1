import type { Finding } from './finding.ts'

/** What a look at all bytes of a data file says. */
export interface Inspection {
  readonly findings: readonly Finding[]
  /** The file as it should be, which are the same bytes where nothing was found; undefined: it cannot be mended. */
  readonly content: Buffer | undefined
  /** What `content` leaves out. */
  readonly removed: Buffer
}

/** What dump, restore, check and repair must know of a kind of file. */
export interface FileFormat {
  /** How it is called in messages. */
  readonly name: string
  /** The temp file of a replacement; only used under the file's lock. */
  temp(path: string): string
  /** Looks for everything that keeps the bytes from being a whole file of this kind. */
  inspect(bytes: Buffer): Promise<Inspection>
  /** Marks a dump, so that one that was cut short afterwards is recognised; left out where that shows by itself. */
  seal?(content: Buffer): Promise<Buffer>
}
