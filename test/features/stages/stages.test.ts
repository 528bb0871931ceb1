import { useFolder } from '../../fixtures/folder.ts'
import { STAGED_KINDS } from '../../fixtures/staged-stores.ts'
import { testStages } from './suite.ts'

describe('stages in files', () => {
  const at = useFolder()
  for (const kind of STAGED_KINDS) testStages(kind, () => at('store'))
})
