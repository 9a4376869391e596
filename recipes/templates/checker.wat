;; Tells right outputs from wrong ones without computing a root: two multiplications an item.
;;
;; A checker program (specs/0003-job.md §9 of Keystead): the unit input is seed (32 bytes), length of the unit input (32 bits), unit input, output.
;; It gives one byte: 0 right, 1 wrong. Here every item is checked; a checker that takes a sample draws it from the seed.
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 64))

  (func $alloc (export "alloc") (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 15)) (i32.const -16)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $free) (i32.shl (memory.size) (i32.const 16))))
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        (unreachable)))
    (local.get $at))

  ;; 1 if root is the whole square root of number: root * root <= number <= root * root + 2 * root.
  (func $is_root (param $number i64) (param $root i64) (result i32)
    (local $square i64)
    (local.set $square (i64.mul (local.get $root) (local.get $root)))
    (if (result i32) (i64.gt_u (local.get $square) (local.get $number))
      (then (i32.const 0))
      (else (i64.le_u (i64.sub (local.get $number) (local.get $square)) (i64.shl (local.get $root) (i64.const 1))))))

  ;; Address and length of a byte that says the verdict.
  (func $verdict (param $wrong i32) (result i64)
    (local $out i32)
    (local.set $out (call $alloc (i32.const 1)))
    (i32.store8 (local.get $out) (local.get $wrong))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32)) (i64.const 1)))

  (func (export "run")
    (param $common i32) (param $common_len i32) (param $unit i32) (param $unit_len i32) (result i64)
    (local $number i64) (local $left i32) (local $at i32) (local $end i32) (local $words i32)
    ;; 32 bytes of seed, 4 of length, 16 of unit input.
    (if (i32.lt_u (local.get $unit_len) (i32.const 52)) (then (return (i64.const -1))))
    (local.set $number (i64.load offset=36 (local.get $unit)))
    (local.set $left (i32.load offset=44 (local.get $unit)))
    (local.set $at (i32.add (local.get $unit) (i32.const 52)))
    (local.set $end (i32.add (local.get $unit) (local.get $unit_len)))
    ;; {length}
    (local.set $words {words})
    (if (i32.ne (i32.sub (local.get $end) (local.get $at)) (i32.shl (local.get $words) (i32.const 2)))
      (then (return (call $verdict (i32.const 1)))))
    (if (i32.gt_u (local.get $left) (local.get $words)) (then (return (call $verdict (i32.const 1)))))
    (block $done
      (loop $items
        (br_if $done (i32.eq (local.get $at) (local.get $end)))
        (if (local.get $left)
          (then
            (if (i32.eqz (call $is_root (local.get $number) (i64.load32_u (local.get $at))))
              (then (return (call $verdict (i32.const 1)))))
            (local.set $number (i64.add (local.get $number) (i64.const 1)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1))))
          ;; Behind the items stands nothing.
          (else
            (if (i32.load (local.get $at)) (then (return (call $verdict (i32.const 1)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $items)))
    (call $verdict (i32.const 0))))
