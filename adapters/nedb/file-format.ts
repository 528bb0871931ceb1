import type { FileFormat } from '../../src/features/backup/format.ts'
import { logFormat } from '../../src/features/backup/log-format.ts'
import { inspectNedbLines } from './inspect.ts'

/** The file of a NeDB store without serialization hooks. Needs no NeDB. */
export const nedbFormat: FileFormat = logFormat('NeDB', inspectNedbLines)
