;; How fast wasm/1 is here: a chain of loads, 64-bit arithmetic and stores within 64 KiB, as often as the unit input says.
;; Built into speed.wasm by the test `the_binary_is_built_from_its_text`.
(module
  (memory (export "memory") 2)
  (func (export "alloc") (param $length i32) (result i32)
    i32.const 65536)
  (func (export "run") (param $c i32) (param $cn i32) (param $u i32) (param $un i32) (result i64)
    (local $left i32) (local $at i32) (local $state i64)
    (local.set $left (i32.load (local.get $u)))
    (local.set $state (i64.const 0x9e3779b97f4a7c15))
    (loop $next
      (local.set $state
        (i64.rotl
          (i64.mul (i64.xor (local.get $state) (i64.load (local.get $at))) (i64.const 0x100000001b3))
          (i64.const 29)))
      (i64.store (local.get $at) (local.get $state))
      (local.set $at (i32.and (i32.add (local.get $at) (i32.const 8)) (i32.const 0xfff8)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i64.store (i32.const 0) (local.get $state))
    (i64.const 8)))
