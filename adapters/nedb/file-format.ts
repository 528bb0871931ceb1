import type { FileFormat } from '../../src/db/dump/file-format.ts'
import { logFormat } from '../../src/db/dump/log-format.ts'
import { inspectNedbLines } from './inspect.ts'

/** The file of a NeDB store without serialization hooks. Needs no NeDB. */
export const nedbFormat: FileFormat = logFormat('NeDB', inspectNedbLines)
