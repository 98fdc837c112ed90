/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For Frama-C only. Static assertions are C11, which its parser does not take; and what its provers do not know
 * of shifts: facts of integer arithmetic, checked over ranges by tests/proof/test_overflow.py.
 */
#define _Static_assert(...) extern int had_asserted

/*@ axiomatic Shifts {
      axiom power_of_two: \forall integer k; 0 <= k <= 30 ==> 1 <= (1 << k) <= 1073741824;
      axiom half_power: \forall integer k; 1 <= k <= 30 ==> (1 << (k - 1)) <= 536870912;
      axiom shift_right: \forall integer v, k; 0 <= k ==>
          (0 <= v ==> 0 <= (v >> k) <= v) && (v < 0 ==> v <= (v >> k) <= -1);
      axiom shift_right_26: \forall integer v;
          67108864 * (v >> 26) <= v < 67108864 * (v >> 26) + 67108864;
      axiom shift_left_18: \forall integer v; (v << 18) == 262144 * v;
    }
*/
