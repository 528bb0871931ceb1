import { useFolder } from '../../fixtures/folder.ts'
import { testInterleavings } from './interleavings.ts'
import { vanillaState } from './sequence.ts'

describe('random calls of 3 processes on a NeDB store', () => {
  testInterleavings(useFolder(), (path) => vanillaState(path), 60)
})
